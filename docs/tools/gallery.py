"""How sphinx-gallery runs the scripts of ``examples/tutorials`` and shows what they write."""

import shutil
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
REPORTS = DOCS / "_extra" / "reports"

#: the tutorials in the order of the site; a test compares it with the folder
ORDER = (
    "first_study",
    "own_network",
    "audit_transformer",
    "reproducible_masks",
    "uncertainty",
    "thinned_size",
    "churn_network",
)


def report_link(block: object, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:  # noqa: ARG001
    """Copy the report that a block leaves in ``report`` to the site, and link to it."""
    report = block_vars["example_globals"].pop("report", None)
    if not isinstance(report, Path):
        return ""
    name = f"{Path(block_vars['src_file']).stem}.html"
    REPORTS.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(report, REPORTS / name)
    return f"\n.. raw:: html\n\n    <p><a href='../reports/{name}'>The report of this study</a></p>\n\n"


CONFIGURATION = {
    "examples_dirs": [str(DOCS.parent / "examples" / "tutorials")],
    "gallery_dirs": ["tutorials"],
    "filename_pattern": r"\.py$",
    "within_subsection_order": "gallery.Order",
    "image_scrapers": (report_link,),
    "reset_modules": (),
    "capture_repr": ("_repr_html_", "__repr__"),
    "ignore_repr_types": r"torch\._C\.Generator",  # what torch.manual_seed returns
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "plot_gallery": "True",
    "abort_on_example_error": True,
    "write_computation_times": False,
}


class Order:
    """The order of the tutorials, as sphinx-gallery asks for it."""

    def __init__(self, src_dir: str) -> None:
        self.src_dir = src_dir

    def __call__(self, filename: str) -> int:
        """The place of a script."""
        return ORDER.index(Path(filename).stem)
