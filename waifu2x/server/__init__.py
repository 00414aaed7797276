"""The HTTP server of ``waifu2x serve``: its own API, three foreign APIs, and a page.

`settings` and `parameters` hold what the command passes in. `app` builds the application, `web`
runs it. A request passes `guard` and `logs`; `uploads` receives its body into a private folder;
`queue` orders the work of all clients; `work` runs it on threads, within the limits of a batch;
`jobs` follows it. `api`, `nunif`, `sdapi` and `suwayomi` hold the routes, `openapi` describes them,
`cache` keeps results, and `problems` turns errors into answers.
"""
