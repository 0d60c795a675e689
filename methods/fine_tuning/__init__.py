"""What the methods that train share: records, the clock over a training run, trainers, weights to put into a model."""
