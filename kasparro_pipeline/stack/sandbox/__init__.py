"""The sandbox upstream: a small HTTP server that answers in the shapes of the real upstreams.

It stands where CoinPaprika, CoinGecko and a news feed stand in production. It knows nothing of the pipeline,
and the pipeline knows nothing of it but its base URL. Every answer is a function of the files in
`data/sandbox`, the clock, and the moment the sandbox opened (only the listing of new coins depends on that).
"""
