"""The pages for people: one's own devices, and what one may do about them. Rendered here; no script is needed.

rendering.py     templates and what is served beside them, and what a browser may do with a page
devices.py       the routes: the list, signing out, "this was not me", and what those see who are turned away
"""
