import subprocess
import sys
from pathlib import Path

MIRRORED = """
import sys
from pathlib import Path
import numpy as np
import keras
import tensorflow as tf
from shipway.components.common.training import Hyperparameters, read_training_data
from shipway.components.tensorflow.fitting import fit
from shipway.components.tensorflow.network import TabularNetwork

devices = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(devices[0], [tf.config.LogicalDeviceConfiguration()] * 2)
root = Path(sys.argv[1])
data = read_training_data(root / "train", root / "validation", "kind")
losses = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        network = TabularNetwork(data.encoders.numeric_width, data.encoders.cardinalities, (16,), 2, 0.0, 0.0)
    settings = Hyperparameters(2, 512, 0.005, (16,), 0.0, 0)
    progress = fit(network, data.train, data.validation, settings, strategy)
    losses.append([epoch.validation_loss for epoch in progress.history])
np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)
"""


def test_two_devices_learn_what_one_learns(trained: Path):
    done = subprocess.run([sys.executable, "-c", MIRRORED, str(trained)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
