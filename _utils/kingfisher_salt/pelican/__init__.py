"""Datasets and exchange rates of Pelican backend."""
