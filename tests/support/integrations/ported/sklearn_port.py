"""scikit-learn: partial_fit in a loop."""

import outside
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from holdfast import Dataset, Run

x, y = load_digits(return_X_y=True)
data = Dataset({"x": x[:80] / 16, "y": y[:80]})
net = MLPClassifier(hidden_layer_sizes=(16,), random_state=0)
with Run("runs/digits", {"net": net}) as run:
    for _ in run.epochs(5):
        for batch in run.batches(data, batch_size=20):
            net.partial_fit(batch["x"] * outside.factor(), batch["y"], classes=range(10))
