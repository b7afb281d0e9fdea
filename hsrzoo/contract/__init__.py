"""The contract that every model must meet (``hsrzoo check``)."""
