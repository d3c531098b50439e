# LSTM with layer normalisation
# Ba, Kiros and Hinton 2016, Layer normalization, arXiv:1607.06450
# Each gate is normalised for itself; its two biases and the norms' are one.
i = sigmoid(norm(Wi @ x, gxi, 0) + norm(Ui @ h, ghi, 0) + bi)
f = sigmoid(norm(Wf @ x, gxf, 0) + norm(Uf @ h, ghf, 0) + bf)
o = sigmoid(norm(Wo @ x, gxo, 0) + norm(Uo @ h, gho, 0) + bo)
g = tanh(norm(Wg @ x, gxg, 0) + norm(Ug @ h, ghg, 0) + bg)
c = f * c + i * g
h = o * tanh(norm(c, gc, bc))
