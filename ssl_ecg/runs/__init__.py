"""A folder that continues: identity, lock, atomic files, results, the model card. Knows no ECG."""
