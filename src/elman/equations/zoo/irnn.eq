# Rectified units started at the identity
# Le, Jaitly and Hinton 2015, A simple way to initialize recurrent networks of rectified linear units, arXiv:1504.00941
# Wh is to be started at the identity and b at zero.
h = relu(Wx @ x + Wh @ h + b)
