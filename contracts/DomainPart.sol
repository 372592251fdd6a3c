// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITrustDomain} from "./interfaces/ITrustDomain.sol";

/// @title DomainPart
/// @notice What every registry of a trust domain has: the domain that it belongs to, for ever.
abstract contract DomainPart {
    /// @notice The trust domain that this registry is a part of.
    ITrustDomain public immutable domain;

    constructor(ITrustDomain domain_) {
        domain = domain_;
    }

    /// @dev Whether `account` governs the domain now.
    function _isGovernor(address account) internal view returns (bool) {
        return account == domain.governor();
    }
}
