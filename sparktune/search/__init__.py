"""What the algorithms share: state kept between proposals, hyperopt's rules, and what a search has learned."""
