"""Tables and number formats for the terminal, README and pictures."""
