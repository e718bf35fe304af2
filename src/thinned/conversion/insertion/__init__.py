"""Insertion: dropout sites in a network that has none, without a change of its code."""

from thinned.conversion.insertion.api import InsertionReport, insert_dropout, remove_dropout

__all__ = ["InsertionReport", "insert_dropout", "remove_dropout"]
