"""One self-contained HTML page that shows cubes."""
