"""Figures of what is found in cells: matplotlib for pictures, pages that open from the disk."""
