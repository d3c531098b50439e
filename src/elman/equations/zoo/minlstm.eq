# minLSTM: gates see only the input
# Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024, Were RNNs all we needed?, arXiv:2410.01201
# The two gates are made to sum to one.
f = sigmoid(Wf @ x + bf)
i = sigmoid(Wi @ x + bi)
g = Wh @ x + bh
h = f / (f + i) * h + i / (f + i) * g
