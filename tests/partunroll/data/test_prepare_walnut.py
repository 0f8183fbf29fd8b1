"""The Walnut-CBCT collection is read as its authors read it, from small files in its layout."""

import shutil

import numpy as np
import pytest
import tifffile
import torch

from normalfit.command_line import run
from normalfit.errors import NormalfitError
from normalfit.grid import Grid
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry
from partunroll.cli import app
from partunroll.errors import InputError, PartunrollError
from partunroll.measurements.walnut_preparation import WalnutChoice, prepare_walnut
from partunroll.objects.made_objects import made_object
from partunroll.store.data_store import DataStore

SIDE, ROWS, COLUMNS, ANGLES = 21, 48, 36, 24  # 501, 972, 768 and 1200 in the collection
ATTENUATION = 0.5  # 1/mm, so that these 2 mm attenuate as a walnut does


def _geometry(height_mm, turn=0.0):
    """Return ANGLES + 1 rows of cone_vec, the last at the angle of the first."""
    orbit = ConeGeometry.circular_orbit(
        num_views=ANGLES,
        source_origin_mm=66.0,
        origin_detector_mm=133.0,
        detector_shape=(ROWS, COLUMNS),
        pixel_mm=(0.1496, 0.1496),
        angle_start_deg=turn,
    )
    vectors = np.concatenate([orbit.vectors, orbit.vectors[:1]])
    vectors[:, 2] += height_mm
    vectors[:, 5] -= 2 * height_mm
    return vectors


def _raw(image):
    """Turn an image of the geometry into what the scanner reads out: its authors' way, undone."""
    return np.ascontiguousarray(image.T[::-1]).round().astype(np.uint16)


def write_walnut(folder, number, *, turn=0.0, backwards=True, byte_order="<", raw=_raw):
    """Write one walnut with three orbits; return its volume in 1/mm."""
    x = (ATTENUATION * made_object((SIDE,) * 3, number)).astype(np.float32)
    rng = np.random.default_rng(number)
    home = folder / f"Walnut{number}"
    (home / "Reconstructions").mkdir(parents=True)
    for i, plane in enumerate(x):
        ending = "tif" if byte_order == "<" else "tiff"
        name = home / "Reconstructions" / f"full_AGD_50_{i:06d}.{ending}"
        tifffile.imwrite(name, plane, byteorder=byte_order)
        tifffile.imwrite(home / "Reconstructions" / f"fdk_pos2_{i:06d}.tif", 0 * plane)
    for orbit, height in ((1, 3.0), (2, 0.0), (3, -3.0)):
        scan = home / "Projections" / f"tubeV{orbit}"
        scan.mkdir(parents=True)
        vectors = _geometry(height, turn)
        np.savetxt(scan / "scan_geom_corrected.geom", vectors)
        np.savetxt(scan / "scan_geom_original.geom", vectors + 0.01)
        grid = Grid((SIDE,) * 3, (0.1,) * 3)
        y = ConeBeam(grid, ConeGeometry(vectors, (ROWS, COLUMNS))).forward(torch.from_numpy(x))
        dark = 200 + 5 * rng.random((ROWS, COLUMNS))
        flats = [d + dark + 2000 * rng.random((ROWS, COLUMNS)) for d in (40_000, 42_000)]
        counts = dark + (np.mean(flats, axis=0) - dark) * np.exp(-y.numpy())
        tifffile.imwrite(scan / "di000000.tif", raw(dark), byteorder=byte_order)
        for k, flat in enumerate(flats):
            tifffile.imwrite(scan / f"io{k:06d}.tif", raw(flat), byteorder=byte_order)
        for row, image in enumerate(counts):
            number_of_file = ANGLES - row if backwards else row
            name = scan / f"scan_{number_of_file:06d}.tif"
            tifffile.imwrite(name, raw(image), byteorder=byte_order)
    return x


@pytest.fixture(scope="module")
def walnuts(tmp_path_factory):
    """Write three walnuts, of either byte order; return the folder and their volumes."""
    folder = tmp_path_factory.mktemp("walnuts")
    orders = {1: "<", 2: ">", 10: "<"}
    return folder, {n: write_walnut(folder, n, byte_order=o) for n, o in orders.items()}


def test_every_number_of_views_is_an_operator(tmp_path, walnuts):
    folder, volumes = walnuts
    summary = prepare_walnut(folder, tmp_path / "d.zarr", WalnutChoice(views=(6, 12)))
    assert summary.splits == {"train": 4, "validation": 2}
    assert set(summary.fingerprints) == {"views-6", "views-12"}
    assert summary.initial_methods == {"views-6": "fdk", "views-12": "fdk"}
    assert max(worst for _, worst in summary.mismatches.values()) < 1e-3  # rounding to counts
    assert summary.notes == ()
    store = DataStore.open(tmp_path / "d.zarr")
    ids = [f"Walnut{n}-{v}" for n in (1, 2, 10) for v in (6, 12)]
    assert [sample.id for sample in store.samples] == ids
    for n, x in volumes.items():
        sample = store.sample(f"Walnut{n}-6")
        assert sample.split == ("validation" if n == 10 else "train")
        reference = store.read(sample.id, "reference") * sample.intensity_per_mm
        np.testing.assert_allclose(reference, x, atol=1e-6)
    spec = store.operators["views-6"]
    np.testing.assert_array_equal(spec.arrays["cone_vec_file"], _geometry(0.0)[0:ANGLES:4])
    assert spec.grid == Grid((SIDE,) * 3, (0.1,) * 3)


def test_coarser_voxels_and_pixels_stay_around_the_centre(tmp_path, walnuts):
    folder, volumes = walnuts
    choice = WalnutChoice(views=(12,), orbits=(1, 3), volume_bin=2, detector_bin=2)
    split = tmp_path / "split.yaml"
    split.write_text("train: [Walnut10]\ntest: [Walnut1]\n")
    summary = prepare_walnut(folder, tmp_path / "d.zarr", choice, split=split)
    assert summary.splits == {"test": 1, "train": 1}
    assert summary.initial_methods == {"views-12": "least-squares"}  # two circles are no circle
    assert summary.mismatches["views-12"][1] < 0.15  # of 10³ voxels
    store = DataStore.open(tmp_path / "d.zarr")
    assert store.read("Walnut1-12", "measurements").shape == (24, ROWS // 2, COLUMNS // 2)
    coarse = store.read("Walnut1-12", "reference") * store.sample("Walnut1-12").intensity_per_mm
    x = np.zeros((SIDE + 1,) * 3, np.float32)  # shifted by half a voxel both ways, and averaged
    for shift in np.ndindex(2, 2, 2):
        x[tuple(slice(s, s + SIDE) for s in shift)] += volumes[1] / 8
    blocks = x[1:-1, 1:-1, 1:-1].reshape(10, 2, 10, 2, 10, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(coarse, blocks, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "way"),
    [
        ({"backwards": False}, "with the views backwards"),
        ({"raw": lambda image: _raw(image[::-1])}, "with the rows upside down"),
        ({"raw": lambda image: _raw(image[:, ::-1])}, "with the columns mirrored"),
    ],
)
def test_the_check_finds_views_in_another_order(tmp_path, wrong, way):
    write_walnut(tmp_path, 3, **wrong)
    with pytest.raises(InputError, match=rf"projections of Walnut3-12 must fit .* {way}"):
        prepare_walnut(tmp_path / "Walnut3", tmp_path / "d.zarr", WalnutChoice(views=(12,)))


def test_another_geometry_is_another_operator(tmp_path, walnuts):
    folder, _ = walnuts
    (tmp_path / "Walnut1").symlink_to(folder / "Walnut1")
    write_walnut(tmp_path, 4, turn=0.2)
    apart = prepare_walnut(
        tmp_path, tmp_path / "a.zarr", WalnutChoice(views=(6,), max_shift_pixels=0)
    )
    assert set(apart.fingerprints) == {"views-6", "views-6-Walnut4"}
    assert "each needs factors" in apart.notes[0]
    assert max(worst for _, worst in apart.mismatches.values()) < 1e-3
    together = prepare_walnut(tmp_path, tmp_path / "b.zarr", WalnutChoice(views=(6,)))
    assert set(together.fingerprints) == {"views-6"}
    assert 1e-3 < together.mismatches["views-6"][1] < 0.1


def test_what_is_missing_is_named(tmp_path, walnuts):
    folder, _ = walnuts
    with pytest.raises(InputError, match="must hold Walnut1/Projections"):
        prepare_walnut(tmp_path, tmp_path / "d.zarr")
    with pytest.raises(InputError, match=r"views must be 3 … 24, got 30"):
        prepare_walnut(folder, tmp_path / "d.zarr")
    with pytest.raises(InputError, match="detector_bin must divide 48 rows and 36 columns, got 5"):
        prepare_walnut(folder, tmp_path / "d.zarr", WalnutChoice(views=(6,), detector_bin=5))
    write_walnut(tmp_path, 5)
    (tmp_path / "Walnut5/Reconstructions/full_AGD_50_000007.tif").unlink()
    with pytest.raises(InputError, match="got none of number 7"):
        prepare_walnut(tmp_path, tmp_path / "d.zarr", WalnutChoice(views=(6,)))
    (tmp_path / "split.yaml").write_text("train: [Walnut1, Walnut7]\ntests: [Walnut2]\n")
    with pytest.raises(
        InputError,
        match=r"got 'tests'; train must name one of .*, Walnut10, got Walnut7",
    ):
        prepare_walnut(folder, tmp_path / "d.zarr", split=tmp_path / "split.yaml")


def test_the_command_takes_two_words(tmp_path, walnuts, capsys):
    folder, _ = walnuts
    output = str(tmp_path / "d.zarr")
    arguments = ["prepare", "walnut", str(folder), "--views", "6", "-o", output]
    with pytest.raises(SystemExit) as ended:
        run(app, errors=(NormalfitError, PartunrollError), arguments=arguments)
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "2 train, 1 validation samples" in said
    assert "references projected again by views-6" in said
    with pytest.raises(SystemExit) as ended:
        run(app, errors=(NormalfitError, PartunrollError), arguments=arguments)
    assert ended.value.code == 2
    assert "must not exist yet" in capsys.readouterr().err


def _geometry_as(change):
    def alter(walnut):
        path = walnut / "Projections/tubeV2/scan_geom_corrected.geom"
        np.savetxt(path, change(np.loadtxt(path)))

    return alter


def _image_as(name, change):
    def alter(walnut):
        tifffile.imwrite(walnut / name, change(tifffile.imread(walnut / name)))

    return alter


def _exchanged(walnut):
    scan = walnut / "Projections/tubeV2"
    dark = (scan / "di000000.tif").read_bytes()
    (scan / "io000000.tif").rename(scan / "di000000.tif")
    for i in range(2):
        (scan / f"io{i:06d}.tif").write_bytes(dark)


SLICE = f"Reconstructions/full_AGD_50_{SIDE - 1:06d}.tif"
VIEW = f"Projections/tubeV2/scan_{ANGLES:06d}.tif"


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        # row i would be paired with the view of row i + 1
        (_geometry_as(lambda v: v[:-1]), "must have a row for each .* got 24 rows, .* number 24"),
        (_geometry_as(lambda v: np.r_[v[:-1], v[5:6]]), "must end where it begins, got sources"),
        (_geometry_as(lambda v: 0 * v), "geom: u and v must be two directions"),
        # the others would be half a voxel off
        (lambda w: (w / SLICE).unlink(), "as many slices as .* got 20 of 21 × 21"),
        (_image_as(SLICE, lambda x: x * np.float32(np.nan)), "image must be finite, got 441 NaN"),
        (
            lambda w: (w / "Projections/tubeV2/io000001.tif").unlink(),
            r"io000000.tif and io000001.tif, got io000000.tif",
        ),
        (_exchanged, "flat must be brighter than dark in most pixels, got 0%; were the two exch"),
        (
            _image_as(VIEW, lambda x: np.where(np.arange(x.shape[1]) % 9 == 0, 0, x)),
            rf"scan_0000{ANGLES}.tif must have counts above the dark field, got 12% .* 5%",
        ),
        (_image_as(VIEW, lambda x: x.astype("c8")), "one real image of one channel, got complex64"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, walnuts, alter, message):
    folder, _ = walnuts
    shutil.copytree(folder / "Walnut1", tmp_path / "Walnut1")
    alter(tmp_path / "Walnut1")
    with pytest.raises(InputError, match=message):
        prepare_walnut(tmp_path, tmp_path / "d.zarr", WalnutChoice(views=(6,)))
    assert not list(tmp_path.glob(".*"))


def test_voxels_that_are_binned_too_much_are_refused(tmp_path, walnuts):
    folder, _ = walnuts
    with pytest.raises(InputError, match=r"volume_bin must be 1 … 21, got 22"):
        prepare_walnut(folder, tmp_path / "d.zarr", WalnutChoice(views=(6,), volume_bin=22))
    with pytest.raises(NormalfitError, match=r"split file must exist, .* write lists of names"):
        prepare_walnut(folder, tmp_path / "d.zarr", split=tmp_path / "split.yaml")


def test_walnuts_without_projections_are_not_passed_over(tmp_path, walnuts):
    folder, _ = walnuts
    (tmp_path / "Walnut1").symlink_to(folder / "Walnut1")
    shutil.copytree(folder / "Walnut2" / "Reconstructions", tmp_path / "Walnut2/Reconstructions")
    with pytest.raises(InputError, match=r"tubeV2 must hold io000000.tif and .*, got none"):
        prepare_walnut(tmp_path, tmp_path / "d.zarr", WalnutChoice(views=(6,)))
