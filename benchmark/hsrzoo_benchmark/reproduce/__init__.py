"""Tables and figures of the MCGA paper from stored rows, and the report of results."""
