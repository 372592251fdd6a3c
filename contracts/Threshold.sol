// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Threshold
/// @notice When votes suffice. `weight` and `heads` are of those who agree, `total` and `all` of everybody frozen in
/// the round's table; weights are counted as the table caps them.
/// @dev Nothing here divides, so nothing rounds. Weights are below 2^32 and heads below 2^8: no product overflows.
library Threshold {
    /// @notice Strictly more than two thirds of the weight and of the heads; below four members that is every head.
    function moreThanTwoThirds(uint256 weight, uint256 total, uint256 heads, uint256 all) internal pure returns (bool) {
        return 3 * weight > 2 * total && 3 * heads > 2 * all;
    }

    /// @notice At least `2 * faults + 1` average weights: the proof of concept's T, as published.
    function slide(uint256 weight, uint256 total, uint256 all, uint256 faults) internal pure returns (bool) {
        return weight * all >= (2 * faults + 1) * total;
    }

    /// @notice More than one third of the weight; while the authority cools after a lift, at least one half.
    function suspends(uint256 weight, uint256 total, bool cooling) internal pure returns (bool) {
        return cooling ? 2 * weight >= total : 3 * weight > total;
    }

    /// @notice More than one half of the weight.
    function lifts(uint256 weight, uint256 total) internal pure returns (bool) {
        return 2 * weight > total;
    }
}
