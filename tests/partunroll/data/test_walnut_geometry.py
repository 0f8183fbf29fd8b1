"""A ball at a known place, seen by a formula, is where `prepare walnut` says it is.

Nothing of the projector, or of the code that reads, takes part in making the files: rays are
intersected with a ball, in ASTRA's convention of cone_vec, by a detector that is shifted and
tilted, and the images are laid down the way the collection's authors turn them back:
``transpose(flipud(image))``.
"""

import numpy as np
import pytest
import tifffile

from partunroll.measurements.walnut_preparation import WalnutChoice, prepare_walnut
from partunroll.store.data_store import DataStore

SIDE, ROWS, COLUMNS, ANGLES = 27, 72, 80, 12  # the columns see all of the grid, as the real ones
CENTRE = np.array([0.45, -0.3, 0.7])  # x, y, z in mm
RADIUS, ATTENUATION = 0.5, 0.8


def _vectors(height):
    rows = []
    for angle in 2 * np.pi * np.arange(ANGLES + 1) / ANGLES:
        outward = np.array([np.sin(angle), -np.cos(angle), 0])
        along = np.array([np.cos(angle), np.sin(angle), 0])
        up = np.array([0, 0, 1.0])
        source = 66 * outward + height * up
        detector = -133 * outward - 2 * height * up + 0.4 * along - 0.9 * up
        u = 0.1496 * (np.array([np.cos(angle + 0.02), np.sin(angle + 0.02), 0]) + 0.03 * up)
        v = 0.1496 * (up + 0.02 * along)
        rows.append(np.concatenate([source, detector, u, v]))
    return np.array(rows)


def _line_integrals(vectors):
    """Return the chords of the rays through 2 × 2 points of every pixel, averaged."""
    source, detector, u, v = vectors.reshape(4, 3)
    chords = np.zeros((ROWS, COLUMNS))
    for shift in np.ndindex(2, 2):
        r, c = (
            np.arange(n) - (n - 1) / 2 + s / 2 - 0.25
            for n, s in zip((ROWS, COLUMNS), shift, strict=True)
        )
        ray = detector + c[None, :, None] * u + r[:, None, None] * v - source
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
        along = ray @ (CENTRE - source)
        squared = np.square(CENTRE - source).sum() - along**2
        chords += np.sqrt(np.clip(RADIUS**2 - squared, 0, None)) / 2
    return ATTENUATION * chords


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """Write the ball as a walnut, big endian."""
    home = tmp_path_factory.mktemp("ball") / "Walnut1"
    (home / "Reconstructions").mkdir(parents=True)
    fine = (np.arange(4 * SIDE) - (4 * SIDE - 1) / 2) / 40
    z, y, x = np.meshgrid(fine, fine, fine, indexing="ij")
    inside = (x - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2 + (z - CENTRE[2]) ** 2 < RADIUS**2
    volume = inside.reshape(SIDE, 4, SIDE, 4, SIDE, 4).mean(axis=(1, 3, 5))
    for i, plane in enumerate(volume):
        name = home / "Reconstructions" / f"full_AGD_50_{i:06d}.tiff"
        tifffile.imwrite(name, (ATTENUATION * plane).astype(np.float32))
    for orbit, height in ((1, 3.0), (2, 0.4)):
        scan = home / "Projections" / f"tubeV{orbit}"
        scan.mkdir(parents=True)
        vectors = _vectors(height)
        np.savetxt(scan / "scan_geom_corrected.geom", vectors)
        images = {f"scan_{ANGLES - i:06d}": _line_integrals(row) for i, row in enumerate(vectors)}
        images |= {name: np.zeros((ROWS, COLUMNS)) for name in ("io000000", "io000001")}
        counts = {name: 100 + 60000 * np.exp(-image) for name, image in images.items()}
        counts["di000000"] = np.full((ROWS, COLUMNS), 100.0)
        for name, image in counts.items():
            raw = np.flipud(image.T)
            assert np.array_equal(np.transpose(np.flipud(raw)), image)
            tifffile.imwrite(scan / f"{name}.tif", raw.round().astype(">u2"), byteorder=">")
    return home


@pytest.mark.parametrize(
    "choice",
    [
        WalnutChoice(views=(12,)),
        WalnutChoice(views=(5,), orbits=(2, 1)),
        WalnutChoice(views=(12,), detector_bin=2, volume_bin=2),
    ],
    ids=str,
)
def test_the_ball_is_where_it_is(tmp_path, ball, choice):
    summary = prepare_walnut(ball, tmp_path / "d.zarr", choice)
    coarse = choice.volume_bin
    # edges within a voxel are what is left
    assert max(worst for _, worst in summary.mismatches.values()) < 0.1 * coarse
    store = DataStore.open(tmp_path / "d.zarr")
    sample = store.samples[0]
    for array, tolerance in (("reference", 0.005), ("initial_estimate", 0.010)):
        volume = store.read(sample.id, array).astype(np.float64)
        places = [
            (np.arange(n) - (n - 1) / 2) * 0.1 * choice.volume_bin for n in volume.shape[::-1]
        ]
        z, y, x = np.meshgrid(*places[::-1], indexing="ij")
        near = (x - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2 + (z - CENTRE[2]) ** 2 < 0.7**2
        weights = near * volume
        found = np.array([(weights * axis).sum() / weights.sum() for axis in (x, y, z)])
        np.testing.assert_allclose(found, CENTRE, atol=tolerance * coarse * 2)
    assert sample.intensity_per_mm == pytest.approx(ATTENUATION, rel=0.01)
