"""Key images: enlarged or made smaller, with regions and words where they belong."""

from __future__ import annotations

import numpy as np

from medimg.pacs.results.drawing import Line, Region, draw, grey, scale_of

BLUE = (0, 0, 255)


def drawn(shape: tuple[int, int], **more: object) -> tuple[np.ndarray, np.ndarray, float]:
    mask = np.zeros(shape, bool)
    mask[shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = True
    base = np.zeros((*shape, 3), np.uint8)
    return draw(base, [Region(mask, BLUE)], [], above=["above"], below=["below"], **more), mask, scale_of(shape)


def test_small_slices_are_enlarged_and_large_pictures_made_smaller() -> None:
    for shape, scale in (((64, 48), 8.0), ((512, 512), 1.0), ((600, 900), 1.0), ((3000, 4000), 0.5)):
        picture, mask, found = drawn(shape)
        assert found == scale
        assert picture.shape[1] == round(shape[1] * scale)
        blue = (picture[..., 2] > 40) & (picture[..., 0] == 0)
        rows, columns = np.nonzero(blue)
        assert len(rows) == round(mask.sum() * scale**2)
        assert (columns.min(), columns.max() + 1) == (shape[1] // 4 * scale, shape[1] // 2 * scale)


def test_words_stand_outside_the_image_and_a_warning_is_red() -> None:
    plain, _, scale = drawn((128, 128))
    warned, _, _ = drawn((128, 128), warning="PARTIAL INPUT: 3 slices are missing")
    assert warned.shape[0] > plain.shape[0] > 128 * scale
    assert (warned[..., 0].astype(int) - warned[..., 1] > 100).any()
    assert not (plain[..., 0].astype(int) - plain[..., 1] > 100).any()


def test_lines_lie_on_pixel_centres() -> None:
    line = Line(np.asarray([[10.0, 4.0], [10.0, 20.0]]), (255, 255, 255))
    picture = draw(np.zeros((64, 64, 3), np.uint8), [], [line], above=[], below=[])
    rows, columns = np.nonzero(picture[..., 0] > 0)
    top = (picture.shape[0] - 512) // 2
    assert abs(rows.mean() - top - 10.5 * 8) <= 1
    assert abs(columns.mean() - 12.5 * 8) <= 1


def test_windows_span_black_to_white() -> None:
    plane = np.asarray([[-200.0, 40.0, 240.0, np.nan]])
    assert grey(plane, (40.0, 400.0))[0, :, 0].tolist() == [0, 128, 255, 102]
    assert grey(plane, None).dtype == np.uint8
