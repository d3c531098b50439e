# Update gate recurrent network
# Collins, Sohl-Dickstein and Sussillo 2017, Capacity and trainability in recurrent neural networks, ICLR, arXiv:1611.09913
n = tanh(Wc @ x + Uc @ h + bc)
g = sigmoid(Wg @ x + Ug @ h + bg)
h = g * h + (1 - g) * n
