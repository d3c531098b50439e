# Elman network with rectified units
# Elman 1990, Finding structure in time, Cognitive Science 14(2); Nair and Hinton 2010, Rectified linear units improve restricted Boltzmann machines, ICML
h = relu(Wx @ x + Wh @ h + b)
