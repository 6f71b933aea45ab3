"""The published layout, in our own words, from its description: what speed is compared with, and nothing else.

Li et al., "Human Pose Regression with Residual Log-likelihood Estimation", ICCV 2021.
"""
