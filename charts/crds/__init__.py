"""The kinds of object that the mesh brings along to a cluster, as the chart installs them.

`python -m charts.crds --write` writes the chart's files anew after a change of what a manifest
may say; without `--write` it says which of them are not as they should be.
"""
