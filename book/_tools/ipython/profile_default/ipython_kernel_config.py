"""How a kernel draws figures for the book: SVG that is the same on every run."""

c = get_config()  # type: ignore[name-defined]  # noqa: F821

c.InlineBackend.figure_formats = {"svg"}
c.InlineBackend.rc = {"svg.fonttype": "none", "svg.hashsalt": "vglab"}
c.InlineBackend.print_figure_kwargs = {
    "bbox_inches": "tight",
    "metadata": {"Date": None, "Creator": None, "Format": None, "Type": None},
}
c.HistoryManager.enabled = False
c.IPKernelApp.log_level = "ERROR"  # a kernel on this machine talks over TCP, which it warns of
