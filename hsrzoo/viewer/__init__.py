"""One self-contained HTML page that shows a cube, or two side by side: images, spectra, error maps.

The page loads nothing and needs no server. Its parts: ``page.html`` and ``style.css``, and the script
from ``data.js``, ``colours.js``, ``panels.js``, ``plot.js``, ``table.js``, ``input.js``, ``main.js``.
"""

from hsrzoo.viewer.cubes import Interval, NamedCube
from hsrzoo.viewer.page import write_page

__all__ = ["Interval", "NamedCube", "write_page"]
