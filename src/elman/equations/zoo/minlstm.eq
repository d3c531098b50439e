# minLSTM: gates see only the input
# Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024, Were RNNs all we needed?, arXiv:2410.01201
# The paper's normalised form: with gates f = sigmoid(Wf @ x + bf) and i = sigmoid(Wi @ x + bi) the state keeps the
# share f / (f + i) = sigmoid(log f - log i), which the logarithms give even where both gates are too small for numbers.
logf = -softplus(-(Wf @ x + bf))
logi = -softplus(-(Wi @ x + bi))
k = sigmoid(logf - logi)
g = Wh @ x + bh
h = k * h + (1 - k) * g
