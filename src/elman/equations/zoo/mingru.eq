# minGRU: gates see only the input
# Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024, Were RNNs all we needed?, arXiv:2410.01201
z = sigmoid(Wz @ x + bz)
n = Wh @ x + bh
h = (1 - z) * h + z * n
