"""Sphinx's settings. `make docs` builds the site; a warning, a broken reference too, is an error there."""

from minigrad import __version__

project = "minigrad"
author = copyright = "the minigrad authors"
version = release = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb", "docs.reference"]
exclude_patterns = ["_build"]
default_role = "py:obj"  # `name` in a docstring
nitpicky = True  # every reference must lead somewhere, but for such names: not all are of these pages
nitpick_ignore_regex = [("py:obj", ".*")]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it, with shapes
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120

html_theme = "furo"
html_title = f"minigrad {version}"
html_static_path = ["_static"]
html_css_files = ["style.css"]
