# Recurrent additive network
# Lee, Levy and Zettlemoyer 2017, Recurrent additive networks, arXiv:1705.07393
i = sigmoid(Wi @ x + Ui @ h + bi)
f = sigmoid(Wf @ x + Uf @ h + bf)
c = i * (Wc @ x) + f * c
h = tanh(c)
