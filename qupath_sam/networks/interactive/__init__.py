"""Networks of click-based interactive segmentation: RITM, FocalClick and SimpleClick, the rivals of the papers' tables.

They take the image, the clicks and the previous mask together, and run whole for each click. Our own text, for today's
torch, with the keys of their authors' checkpoints: RITM (https://github.com/SamsungLabs/ritm_interactive_segmentation,
MIT), FocalClick (https://github.com/XavierCHEN34/ClickSEG, Apache-2.0), SimpleClick
(https://github.com/uncbiag/SimpleClick, MIT).
"""
