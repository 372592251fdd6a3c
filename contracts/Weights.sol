// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRootCouncil} from "./interfaces/IRootCouncil.sol";

/// @dev How many members a council can have.
uint256 constant SEATS = 128;

/// @title Weights
/// @notice The weights of 128 seats in eight words, what the heaviest may count, and how a weight moves.
library Weights {
    uint256 internal constant SEATS_IN_A_WORD = 16;
    uint256 internal constant BITS = 16;

    /// @notice The bit of `seat` in a bitmap of seats.
    function bit(uint256 seat) internal pure returns (uint128) {
        return uint128(1 << seat);
    }

    /// @notice The weight of `seat` in the word of a table that holds it.
    function inWord(uint256 word, uint256 seat) internal pure returns (uint256) {
        return uint16(word >> ((seat % SEATS_IN_A_WORD) * BITS));
    }

    /// @notice The weight of `seat`.
    function get(uint256[8] memory weights, uint256 seat) internal pure returns (uint256) {
        return inWord(weights[seat / SEATS_IN_A_WORD], seat);
    }

    /// @notice Sets the weight of `seat`.
    function set(uint256[8] memory weights, uint256 seat, uint256 weight) internal pure {
        uint256 shift = (seat % SEATS_IN_A_WORD) * BITS;
        uint256 word = weights[seat / SEATS_IN_A_WORD];
        weights[seat / SEATS_IN_A_WORD] = (word & ~(uint256(type(uint16).max) << shift)) | (weight << shift);
    }

    /// @notice The most that one member may count, so that from four members on none counts a third of what all count.
    /// @dev The largest such cap, in closed form. With k members at cap c and the others weighing R together, c is
    /// below a third exactly when 3c < kc + R: with the heaviest alone capped, c <= (R - 1) / 2; with the two heaviest
    /// capped, c <= R - 1, where R holds two members at least and so is 2 at least. A third one is never above that,
    /// as R holds it and another one.
    /// @param heads How many members there are; each weighs 1 at least.
    function cap(uint256[8] memory weights, uint256 heads) internal pure returns (uint256) {
        if (heads < 4) return type(uint16).max;
        (uint256 sum, uint256 first, uint256 second) = heaviest(weights);
        if (3 * first < sum) return first;
        uint256 alone = (sum - first - 1) / 2;
        return second <= alone ? alone : sum - first - second - 1;
    }

    /// @notice The sum of all weights, and the two largest of them.
    function heaviest(uint256[8] memory weights)
        internal
        pure
        returns (uint256 sum, uint256 first, uint256 second)
    {
        for (uint256 i = 0; i < weights.length; ++i) {
            for (uint256 word = weights[i]; word != 0; word >>= BITS) {
                uint256 weight = uint16(word);
                sum += weight;
                if (weight > first) {
                    second = first;
                    first = weight;
                } else if (weight > second) {
                    second = weight;
                }
            }
        }
    }

    /// @notice The sum of all weights, each counting `most` at most.
    function total(uint256[8] memory weights, uint256 most) internal pure returns (uint256 sum) {
        for (uint256 i = 0; i < weights.length; ++i) {
            for (uint256 word = weights[i]; word != 0; word >>= BITS) {
                sum += least(uint16(word), most);
            }
        }
    }

    /// @notice How many bits are set.
    function count(uint128 seats) internal pure returns (uint256 heads) {
        for (; seats != 0; seats &= seats - 1) {
            ++heads;
        }
    }

    /// @notice The weight after a gain and a loss, within its role's bounds.
    function moved(uint256 weight, uint256 gain, uint256 loss, IRootCouncil.Bounds memory bounds)
        internal
        pure
        returns (uint256)
    {
        uint256 up = weight + gain;
        return within(up > loss ? up - loss : 0, bounds);
    }

    /// @notice The weight, within its role's bounds.
    function within(uint256 weight, IRootCouncil.Bounds memory bounds) internal pure returns (uint256) {
        if (weight < bounds.minimum) return bounds.minimum;
        return least(weight, bounds.maximum);
    }

    /// @notice The smaller one.
    function least(uint256 a, uint256 b) internal pure returns (uint256) {
        return a < b ? a : b;
    }
}
