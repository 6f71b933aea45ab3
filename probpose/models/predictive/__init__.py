"""Predictive distributions: the contract, and the classes that keep it."""
