"""Looks at every setting and every outside system, and says of each how it is and how to mend it. Changes nothing."""
