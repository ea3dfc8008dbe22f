"""Register a checkpoint of your own and segment with it. Its weights are random here, so the outline means nothing.

On the command line: `qupath-sam models add my_model FILE`, then `qupath-sam segment ... --model my_model`.
"""

import tempfile
from pathlib import Path

from safetensors.torch import save_file

from qupath_sam import Box, EngineSettings, LocalClient, demo_slide_path
from qupath_sam.models.spec import Family
from qupath_sam.models.weights.checkpoints import build_network
from qupath_sam.models.weights.manage import Description, add, verify
from qupath_sam.models.weights.store import ModelStore

with tempfile.TemporaryDirectory() as folder:
    checkpoint = Path(folder) / "my_model.safetensors"
    save_file(build_network(Family.LITE_MEDSAM).state_dict(), checkpoint)

    # A store of its own, so that your models stay as they are; ModelStore() is yours.
    home = Path(folder) / "home"
    store = ModelStore(home)
    add("my_model", checkpoint, store, described=Description(title="Mine", licence="CC0-1.0", default_mpp=1.0))
    spec = store.find("my_model")
    print(f"{spec.name}: family {spec.family.value}, by its tensors; SHA-256 {verify(spec, store).sha256[:12]}…")

    with LocalClient(EngineSettings(models_home=home)) as sam:
        found = sam.open(demo_slide_path(), model="my_model").segment(Box(1190, 1960, 1350, 2185))

made = found.prediction.provenance
print(f"segmented with {made.model}, weights {made.weights_sha256[:12]}…")
assert made.model == "my_model"
