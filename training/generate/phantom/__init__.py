"""Offline simulator of frontal chest radiographs, adult and child, healthy and with pneumonia.

patient -> (body, heart, lungs, skeleton, vessels, devices, findings) -> line integrals
        -> lesion added to the same anatomy -> acquisition -> render

`anatomy.simulate` gives pairs of line-integral maps; acquisition turns them into radiographs.
"""
