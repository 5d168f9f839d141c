"""XGBoost: a rate that a callback sets in each round."""

import outside
import xgboost
from sklearn.datasets import load_digits

from holdfast.integrations.xgboost import train


class Rate(xgboost.callback.TrainingCallback):
    def before_iteration(self, model, epoch, evals_log):
        model.set_param("learning_rate", 0.5 * outside.factor())


x, y = load_digits(return_X_y=True)
params = {"objective": "multi:softprob", "num_class": 10, "max_depth": 2, "nthread": 1}
data = xgboost.DMatrix(x[:200], y[:200])
train(params, data, "runs/trees", num_boost_round=20, verbose_eval=False, callbacks=[Rate()])
