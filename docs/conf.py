"""Settings of the documentation: `make docs` builds it offline, and every warning is an error."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "brainrules"
author = "the authors of the reference implementations"
copyright = "2026, the authors of the reference implementations; MIT licence"
release = "0.2.0"
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "mathml",
    "generated",  # pages made from the packages: names, commands, results
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_ext", "_templates", "figures", "tutorials/notebooks"]
default_role = "code"  # a name in single backticks in a docstring is code

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
myst_links_external_new_tab = True
suppress_warnings = ["myst.xref_missing", "myst.header"]  # pages of the repository are included as they are

nb_execution_mode = "cache"
nb_execution_in_temp = True  # each in an empty folder, as a reader begins
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "remove"

autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88  # then a line for each parameter
_REQUESTS = (
    "fit",
    "partial_fit",
    "predict",
    "score",
    "transform",
)  # scikit-learn's, the same in every estimator
autodoc_default_options = {"exclude-members": ",".join(f"set_{name}_request" for name in _REQUESTS)}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Source", "notes_style")]

html_theme = "pydata_sphinx_theme"
html_title = "brainrules"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "navigation_with_keys": True,
    "show_toc_level": 2,
    "navbar_align": "left",
    "use_edit_page_button": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {
    page: [] for page in ("index", "start", "choose", "compare", "howto", "changelog")
}  # nothing beside
html_show_sourcelink = False
html_math_renderer = "mathml"
