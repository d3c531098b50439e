# LSTM without forget gate (NFG)
# Hochreiter and Schmidhuber 1997, Long short-term memory, Neural Computation 9(8); the ablation of Greff et al. 2015, arXiv:1503.04069
i = sigmoid(Wi @ x + Ui @ h + bi)
o = sigmoid(Wo @ x + Uo @ h + bo)
g = tanh(Wg @ x + Ug @ h + bg)
c = c + i * g
h = o * tanh(c)
