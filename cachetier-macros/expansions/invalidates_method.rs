impl Users {
    async fn forget(&self, ids: Vec<u64>) {
        #[allow(unused_imports)]
        use ::cachetier::attribute::probes::*;
        #[allow(clippy::all, clippy::pedantic)]
        let __targets = ::cachetier::attribute::Targets {
            keys: ::std::vec![::cachetier::attribute::text(& (USERS))],
            tags: ::std::vec![],
            prefixes: ::std::vec![
                { let mut __key = ::cachetier::KeyText::new(); __key.literal("user:");
                __key.part(& (ids[0])); __key.literal(":");
                ::std::string::String::from(__key) }
            ],
        };
        #[allow(clippy::all, clippy::pedantic)]
        let __cache = {
            let __given = &(self.cache);
            let __cache = ::cachetier::attribute::given(__given);
            __cache.into_owned()
        };
        #[allow(clippy::all, clippy::pedantic)]
        let __done = {
            let __returned: () = async move {
                if let ::std::option::Option::Some(__returned) = ::std::option::Option::None::<
                    (),
                > {
                    return __returned;
                }
                #[allow(clippy::let_unit_value, clippy::diverging_sub_expression)]
                let __returned: () = { self.db.forget(ids).await };
                #[allow(unreachable_code)] return __returned;
            }
                .await;
            match (&&&::cachetier::attribute::DoneProbe::of(&__returned))
                .done(__returned)
            {
                ::std::result::Result::Ok(__done) => __done,
                ::std::result::Result::Err(__returned) => return __returned,
            }
        };
        ::cachetier::attribute::invalidate_after(__cache, __targets).await;
        __done.returned()
    }
}
