"""The benchmarking harness: protocols, a resumable result store, statistics and speed.

Reached from the command line as ``hsrzoo bench`` and ``hsrzoo compare``. It knows data sets, metrics
and models only through the core's registries.
"""
