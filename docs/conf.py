"""Sphinx's configuration: `script/docs` builds these pages into var/docs, and fails on a warning or a broken link."""

project = "Analytics portal and sync"
html_title = "Analytics portal and sync"
extensions = ["myst_parser"]
html_theme = "furo"
html_static_path = ["images"]
exclude_patterns = ["schemas", "screenshots"]
html_copy_source = False
html_show_copyright = False

# A link to a heading is that of GitHub, so the pages read the same there.
myst_heading_anchors = 4
nitpicky = True
# GitHub makes the anchors of its pages by a script, so they cannot be checked.
linkcheck_anchors = False
linkcheck_timeout = 20
