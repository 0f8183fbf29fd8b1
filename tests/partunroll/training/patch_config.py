"""patch_config: a resolved configuration whose patches are 10 voxels wide."""

from partunroll.configuration.train_config import TrainConfig

GRID = (20, 22)


def patch_config(grid=GRID, **values):
    values = {"patch_shape": 10, "batch": 3, **values}
    return TrainConfig.model_validate(values).resolved(grid)
