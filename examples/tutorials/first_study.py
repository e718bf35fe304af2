"""
A first study on a table
========================

A study answers one question with held-out evidence: does dropout help *this* network on *this* table? It takes a data
frame, or the path of a CSV or Parquet file, and the name of the column to predict. This one takes the bundled table of
5,000 telephone customers, of whom 14 % left.
"""

import thinned

churn = thinned.datasets.churn()
churn.loc[:3, ["state", "international_plan", "total_day_minutes", "churn"]]

# %%
# Which ways to regularise are compared, the *arms*, is fixed before anything trains. Here it is dropout at two rates;
# no regularisation is always among them. Without ``arms=`` the study takes all 17, which is what ``thinned study
# customers.csv --target churned`` does in about two minutes.

study = thinned.study(
    churn,
    target="churn",
    arms=["dropout"],
    rates=[0.3, 0.5],
    seeds=1,
    jobs=1,
    progress=False,
)
print(study.verdict)

# %%
# So few networks show little: the interval is wide, and the verdict says how large a difference would have been
# detected. All arms, each with two repeats, find that dropout helps on this table (``thinned demo``).
#
# Each line of the table is a setting: mean losses and scores over the test folds, at the epoch of least validation
# loss. ``improvement`` is what the setting takes off the loss of no regularisation.

study.table[["train_loss", "test_loss", "roc_auc", "improvement", "best_epoch"]].round(4)

# %%
# The verdict comes from the arms, not from the best line of this table: on each split validation rows choose a setting,
# and test rows, which had no part in the choice, score it. ``results`` has every comparison with its interval.

for comparison in study.results.comparisons:
    print(comparison.sentence)

# %%
# The report is one HTML file without any request to a network: curves, intervals, warnings with their next steps, and
# how each column was read.

report = study.report()

# %%
# The study leaves the model that it recommends: five networks, each fitted on a different four fifths of the rows. It
# reads new rows as the table was read.

customers = churn.head(5).drop(columns="churn")
probability = study.model.predict(customers)
print(study.model.classes)
print(probability.round(3))

# %%
# How sure it is has two parts, in nats: noise that no network can predict, and disagreement among the networks, which
# more rows would lower.

total, noise, disagreement = study.model.uncertainty(customers)
for row in zip(total, noise, disagreement, strict=True):
    print("total {:.3f} = noise {:.3f} + disagreement {:.3f}".format(*row))

# %%
# Next: give ``out="runs/churn"`` to keep the study's folder, and :doc:`/howto/serving` to use the model elsewhere. What
# each number means stands in :doc:`/study`.
