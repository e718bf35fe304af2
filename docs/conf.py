"""Configuration of the documentation site: ``make docs`` builds it into ``docs/_build/html``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs" / "tools"))

import gallery  # noqa: E402

import thinned  # noqa: E402

project = "thinned"
author = "The thinned developers"
copyright = author  # noqa: A001 - Sphinx's name
version = release = thinned.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinx_markdown_builder",
    "reference",
    "tutorial_links",
    "twins",
]
exclude_patterns = [
    "_build",
    "tools",
    "**/GALLERY_HEADER.rst",
    "**/*.ipynb",
    "**/*.zip",
    "tutorials/sg_execution_times.rst",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"

myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True  # as the source writes them
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Shape"]
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False

sphinx_gallery_conf = gallery.CONFIGURATION
suppress_warnings = ["config.cache"]  # the gallery's scraper is a function
gallery.REPORTS.mkdir(parents=True, exist_ok=True)

html_theme = "pydata_sphinx_theme"
html_title = "thinned"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_extra_path = ["_extra"]
html_sidebars = {"benchmarks": [], "changes": []}  # sections of one page
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 8,
    "navbar_persistent": ["search-button"],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
