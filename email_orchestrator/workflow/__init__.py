"""Combines: the steps of the belt and the actions a person may take, where core, store and clients meet."""
