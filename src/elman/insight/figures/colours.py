"""The colours of values: one hue above zero, one below, white at zero; told apart by everybody."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

POSITIVE = (33, 102, 172)
NEGATIVE = (214, 96, 4)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def backgrounds(values: ArrayLike) -> NDArray[np.uint8]:
    """The colour of each value.

    Args:
        values: [...] from -1 to 1; NaN is white, what is beyond is as the end.

    Returns:
        [..., 3] red, green, blue.
    """
    array = np.clip(np.nan_to_num(np.asarray(values, dtype=np.float64)), -1, 1)[..., None]
    end = np.where(array > 0, np.array(POSITIVE), np.array(NEGATIVE))
    return np.rint(255 + np.abs(array) * (end - 255)).astype(np.uint8)


def light_ink(colours: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether white reads better than black on each colour, by the contrast of WCAG 2.1.

    Args:
        colours: [..., 3].
    """
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    # contrast with white is 1.05 / (L + .05), with black (L + .05) / .05
    return linear @ np.array([0.2126, 0.7152, 0.0722]) < np.sqrt(1.05 * 0.05) - 0.05
