"""Compares upscaling methods: on a sheet of crops, and by the votes of a person.

`methods` enlarges a picture by a model or by bicubic interpolation, `crops` chooses where to look
and classifies what is there. `sheet` draws a comparison, with the labels and colors of `drawing`.
`votes` keeps the votes, `questions` chooses the next pair, `ranking` fits the model of
Bradley-Terry, `report` prints and plots the ranking, and `rating` serves the page for the rater.
"""
