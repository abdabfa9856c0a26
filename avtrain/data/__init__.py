"""From plans to tensors: routing (which bytes), reader (fetch them), loader (batches), augment (on the device)."""
