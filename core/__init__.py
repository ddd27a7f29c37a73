"""The kernel that never drops the baton.

A *system* hands us a parcel; the kernel stores it, decides who shall have it, hands it to the right gateway, keeps the
evidence, and can say afterwards what happened and why. It knows no protocol, no sector and no message format: those words
live in the gateways.

The guarantee, in these words everywhere: **accepted once per key; delivered at least once, under an id that never changes;
nothing claims more.**
"""
