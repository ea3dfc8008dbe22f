"""What happens on a click, in this order.

`engine` takes the call; `call` runs it; `states` finds what is known of the object; `steps` goes from click to click;
`windows` chooses the pixels; `embeddings` keeps what the encoder made of them, `worker` calls the model, `logits` hands
its masks on; `outlines` makes polygons of them.
"""
